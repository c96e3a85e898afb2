# Written by `tenon compile --format=terraform`, which replaces this file.

output "artifacts" {
  description = "Folder of the system in the container of blobs."
  value       = "azblob://artifacts/tenon/empty/_?storage_account=tenonemptyaee54ba0"
}
