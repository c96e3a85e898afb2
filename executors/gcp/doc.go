// Package gcp runs jobs and services on Cloud Run, and jobs with GPUs and endpoints on Vertex AI. It knows Google Cloud as a
// target: what a system needs there, and which units fit. It writes the infrastructure as files for OpenTofu or
// Terraform, and runs units in what these files make, which it finds by its names.
//
// Rights follow from the units: [cloud.Access] is what a unit reads, writes, calls and may see, and
// the only source of the rights of its service account. So each port of a unit is a store of its
// own in the bucket, and conditions of IAM name its prefix.
//
// # A task on Google Cloud
//
// The record of a job is a job of Cloud Run, whose name follows from the task and the state. The call that
// creates it creates its only execution too, under a name that ends with a token of this start. So a killed
// apply leaves both or none, a task that was destroyed starts again under its name, and each call may be
// repeated. Cloud Run makes one attempt, whose first process is tenon-pod.
//
// A job with a GPU is a custom job of Vertex AI, whose name Google chooses: see vertex.go for how it still runs once.
//
// A unit that is a service has one service of Cloud Run, and a task is a revision of it. The versions of a release are in
// one revision, as they are in a pod: the instances share their route through the bucket, see package cloud.
//
// By choice of the target, a service is an endpoint of Vertex AI. A task is then one or two models that are deployed there, and the
// endpoint divides the requests between the versions of a release: see hosted.go.
package gcp
