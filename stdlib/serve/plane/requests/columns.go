package requests

// Columns of a file that every service has.
const (
	Time        = "time"       // when the request began to be answered
	RequestID   = "request_id" // of the caller, or made up
	RowNumber   = "row"        // of the request, from 0 on
	Version     = "version"    // of the model
	Digest      = "digest"     // of the model
	Latency     = "latency_us" // until the predictions of the request were made, in microseconds
	Position    = "events"     // how many events of the log its history had
	Pod         = "pod"        // that answered; only in a cluster
	Fallback    = "fallback"   // why a fallback answered: "version, lookup weather"; or NULL
	Prediction  = "prediction"
	Probability = "probability" // that goes with a predicted class
)

// Prefixes of the columns of a request, of the features that were computed from it, and of the
// probabilities of classes.
const (
	RequestPrefix     = "request."
	FeaturePrefix     = "feature."
	ProbabilityPrefix = "probability."
)
