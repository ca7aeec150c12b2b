"""Stage 3: clips (shots of accepted files), what is measured on them, and what is decided about them."""
