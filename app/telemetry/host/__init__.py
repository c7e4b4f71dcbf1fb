"""Host: the memory and the cores that the container may use."""
