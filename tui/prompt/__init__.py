"""The store's model on the user's own text: screen has the keys, base what is drawn and computed.

firing is what the store says of the neurons that fire, lists their rows; effects computes next tokens and direct effects in
threads, predictions draws them.
"""
