// Package onnx reads of an ONNX file what a compiler has to know: its inputs and outputs, and whether
// it needs anything that is not in the file.
//
// It reads the protocol buffers of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, keeps no
// weights, and evaluates nothing. ONNX Runtime decides whether it can evaluate a graph.
package onnx
