"""What happens beside training: checkpoints' extras, pictures, progress."""
