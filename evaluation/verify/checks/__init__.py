"""What is checked of single files, and of numbers against outcomes; it knows no folder of ours."""
