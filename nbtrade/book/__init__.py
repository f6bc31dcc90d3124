"""The order book that all other parts share: levels in pages, best prices, order counts."""
