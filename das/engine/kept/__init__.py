"""What is kept between passes: states, vectors, how much memory they may take."""
