"""The history: every reading as one record, kept until the broker has acknowledged it.

queue     HistoryQueue, the interface for the rest of the program
buffer    the records in memory
spooler   moves records to the disk and back
delivery  what was sent, acknowledged and has to be sent again
"""
