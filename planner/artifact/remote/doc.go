// Package remote keeps artifacts where other machines can reach them: in a shared folder,
// on S3, on Google Cloud Storage or on Azure Blob Storage.
//
// A file is stored as a blob of its bytes under its digest. A folder is stored as a blob
// for each file and link in it and then, last, a blob of its listing, from which the
// folder's digest is computed. So a folder exists completely or not at all, and what two
// folders share is kept once. Everything read is compared with its digest: neither the
// store nor the paths in a listing are trusted.
//
// Beside the artifacts there are notes, small texts under names. The package does not
// decide what is still needed. It removes only what its caller names.
package remote
