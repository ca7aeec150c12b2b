"""What people see of curation: one clip (`explain`) and a day (`day_report`, `distributions`, `drift`).

Nothing is decoded or decided here.
"""
