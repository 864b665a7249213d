"""What a checkpoint means: results are frozen dataclasses that name no reader."""
