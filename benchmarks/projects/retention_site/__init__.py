"""A site whose only task says when it began, on whatever database it is given."""
