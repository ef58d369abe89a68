"""Many small networks of one architecture, trained as one batch of networks; `netmorph.train.train_many` leads here."""
