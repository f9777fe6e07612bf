"""Importing this lets `trainer_mode: sync` of verl select with BOTS, in every process that verl starts.

VERL_USE_EXTERNAL_MODULES=bots.adapters.verl_sync python -m verl.trainer.main_ppo … +bots.weak=weak +bots.strong=strong
"""

from bots.adapters.verl import install

install()
