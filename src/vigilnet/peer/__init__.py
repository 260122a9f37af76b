"""Who a node is: identity, addresses, the signed peer record, and the view of known peers."""
