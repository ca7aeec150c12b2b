"""What people see of curation: one clip (`explain`, `explain_page`, `naming`), and a day (`pages`, `stills`,
`distributions`, `margins`, `drift`). Nothing is decoded or decided here.
"""
