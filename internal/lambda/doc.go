// Package lambda answers the events of AWS Lambda with an [http.Handler], as a runtime of its
// own: it asks the runtime API for one invocation after another.
//
// An event is a request of a function URL or of API Gateway (payload format 2.0), or anything
// else: then it is the body of a request to a path that the caller chooses, and the answer is
// the body of its answer. An answer other than 200 to such an event is an error of the function.
package lambda
