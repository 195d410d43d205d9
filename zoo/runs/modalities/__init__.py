"""What differs between kinds of items: images, texts."""
