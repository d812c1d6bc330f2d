"""Published checkpoints: their files, the names of their tensors, and the models they become."""
