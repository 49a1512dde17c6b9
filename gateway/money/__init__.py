"""Money: one price for every token, whoever answers, and what each call cost and saved.

tariff    what an upstream asks for: a provider's lines, in USD per token
machine   an own machine: its time shared among the calls it works on, and the rates it was seen to work at
price     the only pricing function
lists     whose prices in the table hold for an upstream
published litellm's published prices as rows of our table
table     the dated table of providers' prices, and where it is refreshed from
prices    which price holds for an upstream and a model of the policy in force
bill      one call's cost, its baseline and what was saved, from its trace
"""
