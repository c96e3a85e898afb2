echo "making the report"
port params.title > "$(port outputs.report)"
