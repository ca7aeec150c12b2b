"""What people see of curation: one clip (`explain`, `find_clip`) and a day (`day_report`, `distributions`, `margins`,
`drift`). Nothing is decoded or decided here.
"""
