"""Where the cells of a run are worked on: in this process, in a pool of processes, or on a Ray cluster."""
