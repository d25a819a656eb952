"""From the user's folder to tables of images, and from those to batches."""
