"""The typed configuration of a training job."""
