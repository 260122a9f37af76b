"""Few, documented, typed things that many tests share."""
