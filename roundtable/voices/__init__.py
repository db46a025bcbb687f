"""How agents find their words: the port (`port`), the script that needs nothing (`scripted`), a language model
(`openai`), and who speaks (`speaking`).
"""
