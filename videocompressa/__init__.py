"""Turn a folder of labelled videos into one tiny file that trains models as well as all the videos did."""
