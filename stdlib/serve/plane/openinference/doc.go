// Package openinference reads and writes the messages of GRPCInferenceService, the service of
// the Open Inference Protocol for gRPC. The numbers of fields are those of the published
// open_inference_grpc.proto, which stand beside the code that reads them.
//
// There is no generated code: it makes an object of every message before anyone can look at
// it, and two bytes of a request become more than a hundred of memory. This package goes
// through the bytes, and stops at the first thing that is wrong.
package openinference
