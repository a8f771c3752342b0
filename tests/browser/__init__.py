"""The web UI in a real browser, before a real daemon.

What it has to pass before a release, by the numbers in the names of the tests: U1 every page renders
without a console error and asks nobody else for anything; U2 two tabs see a model loaded and unloaded; U3 a
model that is killed; U4 a daemon that is restarted; U5 a daemon that goes silent; U6 300 models, 100,000
activity rows; U7 5,000 log lines a second; U8 hostile text; U9 300 tokens a second; U10 below a path
prefix; U11 keys; U12 axe; U13 pictures of every page, to be looked at (`python -m tests.browser.pictures`).
"""
