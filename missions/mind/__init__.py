"""What agents do beside their rules: react, take the initiative, look back, learn from outcomes, promote what proves
itself. All of it proposes by the one door or writes memories; nothing below this room knows it.
"""
