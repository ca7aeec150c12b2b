"""What training reads: the clips of a sealed snapshot, how they are packed into steps, and how often each is seen."""
