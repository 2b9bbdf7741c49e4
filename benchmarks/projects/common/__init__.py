"""What the projects of all contenders share; needs the standard library only."""
