package aws

import clouds "github.com/tenon-ml/tenon/executors/cloud"

// What all clouds share.
var (
	accessOf   = clouds.AccessOf
	asks       = clouds.Asks
	below      = clouds.Below
	label      = clouds.Label
	fit        = clouds.Fit
	hyphened   = clouds.Hyphened
	short      = clouds.Short
	burnRates  = clouds.BurnRates
	number     = clouds.Number
	entityName = clouds.EntityName
	reference  = clouds.Reference
	key        = clouds.Key
	once       = clouds.Once
	sleep      = clouds.Sleep
)

type objectives = clouds.Objectives

// Longest names that AWS allows.
const (
	mostRole      = 64
	mostJob       = 128
	mostSageMaker = 63 - 9 // with a digest of what it has
	mostFunction  = 64
	mostBucket    = 63 - 1 - 12 - 1 - 14 // with account and region
	mostQueue     = 128
	mostAlarm     = 255
	mostStack     = 128
)
