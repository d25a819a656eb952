"""What a classifier says of images, and how good that is."""
