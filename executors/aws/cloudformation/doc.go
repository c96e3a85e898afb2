// Package cloudformation writes infrastructure in AWS as a template of CloudFormation. It is made from the
// files of which HCL is written, so that the two have the same resources, policies and settings. What has
// no counterpart is an error that names it: nothing is left out in silence.
package cloudformation
