"""What each stage does where it is not finished yet."""
