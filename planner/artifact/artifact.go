package artifact

// An Artifact is a file or a folder that a unit produced, named by its content.
type Artifact struct {
	Digest string `json:"digest"` // "sha256:<hex>" of the file, or of the folder's listing
	Kind   string `json:"kind"`   // the port's kind
	Size   int64  `json:"size"`   // bytes, of all files
	Rows   int64  `json:"rows,omitempty"`
}

// A Ref names a file or a folder in a store that other machines can reach.
type Ref struct {
	Digest string `json:"digest"`
	Dir    bool   `json:"dir,omitempty"`
	Size   int64  `json:"size"` // bytes, of all files
}
