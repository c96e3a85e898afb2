package openinference

import "google.golang.org/protobuf/encoding/protowire"

// A Number is the number of a field.
type Number = protowire.Number

// message appends a field that is a message, which a function writes.
func message(b []byte, n protowire.Number, write func([]byte) []byte) []byte {
	return Bytes(b, n, write(nil))
}

// Bytes appends a field of bytes.
func Bytes(b []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

// Text appends a field of text.
func Text(b []byte, n protowire.Number, v string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), v)
}

// Yes appends a bool that is true.
func Yes(b []byte, n protowire.Number) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), 1)
}

// Parameter appends an entry of a map of InferParameter.
func Parameter(b []byte, n protowire.Number, key, value string) []byte {
	return message(b, n, func(b []byte) []byte {
		return message(Text(b, 1, key), 2, func(b []byte) []byte { return Text(b, 3, value) })
	})
}

// Tensor appends the name, the datatype and the shape of a tensor, which are fields 1 to 3 of
// a TensorMetadata and of an InferOutputTensor.
func Tensor(b []byte, name, datatype string, shape []int64) []byte {
	b = Text(Text(b, 1, name), 2, datatype)
	var packed []byte
	for _, n := range shape {
		packed = protowire.AppendVarint(packed, uint64(n))
	}
	return Bytes(b, 3, packed)
}

// The lists of an InferTensorContents, by the datatype of the tensor. Those of BYTES are
// fields of their own, and the others are packed.
var lists = map[string]protowire.Number{"BOOL": 1, "INT8": 2, "INT16": 2, "INT32": 2, "INT64": 3, "UINT8": 4, "UINT16": 4, "UINT32": 4, "UINT64": 5,
	"FP32": 6, "FP64": 7, "BYTES": 8}

// List is the number of the list of a datatype.
func List(datatype string) protowire.Number { return lists[datatype] }
