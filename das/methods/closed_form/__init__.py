"""Methods that find directions from vectors and labels, without an intervention."""
