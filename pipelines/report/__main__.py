import sys

from pipelines.report import main

sys.exit(main())
