"""Reading Parquet in bounded memory, with every header checked before it is decoded: a file is input from outside."""
