"""Stage 8, evaluation: samples, the scorecard, the registered version and the gate to champion."""
