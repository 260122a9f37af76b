"""The doctor: finds out what is wrong, says what it means and what to do, repairs what is safe.

`this_machine` and `network` measure and judge; `running_node` judges what a node says of itself; `service`
runs them all. Nothing is asked of anybody but this machine, its own resolver and its own node, unless told.
"""
