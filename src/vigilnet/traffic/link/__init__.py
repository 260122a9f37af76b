"""Links: an authenticated, encrypted session with one neighbour that carries all circuits between the two."""
