"""What puts the website together: the pages made from notebooks and exercises, and an extension for Sphinx."""
