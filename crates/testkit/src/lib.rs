//! Development only: throw-away registry, test images, root and netns guards, leak check.
