package aws

import (
	"github.com/tenon-ml/tenon/compiler/ir"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
)

// What all clouds share.
var (
	accessOf   = clouds.AccessOf
	asks       = clouds.Asks
	below      = clouds.Below
	label      = clouds.Label
	fit        = clouds.Fit
	hyphened   = clouds.Hyphened
	short      = clouds.Short
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
	mostSageMaker = 63 - 1 - sumLength - 5 // with the sum of a task, and a variant
	mostFunction  = 64
	mostBucket    = 63 - 1 - 12 - 1 - 14 // with account and region
	mostQueue     = 128
	mostAlarm     = 255
	mostStack     = 128
	mostRule      = 64 // of EventBridge
	mostBalancer  = 32 // and of a group of its targets
	mostECS       = 255
)

// function returns the name of a service on Lambda, endpoint that of one on SageMaker.
func (w *writer) function(u *ir.Unit) string { return fit(w.name(u), mostFunction) }
func (w *writer) endpoint(u *ir.Unit) string { return hyphened(w.name(u), mostSageMaker) }

// endpointGroup begins the names of the log groups of endpoints.
const endpointGroup = "/aws/sagemaker/Endpoints/"
