/** `gridring gateway replace`, as it is asked for; its work is loaded when it is. */
import type { Command } from 'commander';
import type { ReplaceOptions } from './gateway-replace.js';

export function addGatewayReplace(gateway: Command): void {
  // Else --config and --json behind the verb would be those of the gateway.
  gateway
    .enablePositionalOptions()
    .command('replace <who>')
    .description('put a new gateway in the place of one that is gone: by its id, or by the hash of its certificate')
    .requiredOption('--config <file>', 'configuration of the new gateway, with the list that it is to be named in')
    .requiredOption('--authority <folder>', 'certificate.pem and key.pem of the authority')
    .option('--dry-run', 'say what would change, and sign nothing')
    .option('--json', 'print JSON')
    .action(async (who: string, options: ReplaceOptions) => {
      const { replaceGateway } = await import('./gateway-replace.js');
      await replaceGateway(who, options);
    });
}
