import { table } from '@alignprop/autograd-ext/outside';

/** Names what each listed reward cannot see, and how pictures look that are trained for it for too long. */
export const rewardLimits = table<string>({
  aesthetic:
    'It rates beauty on 224×224 pixels and never sees the prompt: a picture may lose its subject, details and ' +
    'lettering. Ratings above 7 or so are beyond those that people gave; pictures that reach them look alike.',
  'clip-score':
    'It compares picture and prompt on 224×224 pixels. It counts badly, mixes up which thing has which colour or ' +
    'place, overlooks "no" and "without", and takes written words for what they name.',
  'pick-score':
    'It predicts what users of one web site preferred, on 224×224 pixels. It does not see faces, hands and lettering ' +
    'in detail, and takes finish and saturated colours for quality.',
  'hps-v2':
    'It predicts what people preferred among generated pictures, on 224×224 pixels. It does not see faces, hands and ' +
    'lettering in detail; pictures drift to a smooth, illustrated look.',
  'image-reward':
    'It predicts what people preferred for a prompt, on 224×224 pixels. It counts badly, and does not see faces, ' +
    'hands and lettering in detail.',
  'object-detection':
    'It sees one kind of object, by one detector. What else the picture shows does not count, and a picture may ' +
    'satisfy the detector where a person sees something else.',
  'graph-model':
    'It sees the classes of one classifier. Whatever these do not tell apart does not count, and a picture may ' +
    'satisfy the classifier where a person sees something else.',
  'nsfw-safety':
    'It is one classifier of 224×224 pixels. A high score does not prove that a picture is harmless, and the ' +
    'adapter is no safety filter.',
  'jpeg-compressibility':
    'It sees the size of a file alone, neither the subject nor the prompt. For too long, it ends in empty pictures.',
  'jpeg-incompressibility':
    'It sees the size of a file alone, neither the subject nor the prompt. For too long, it ends in noise.',
});

/** The limits of rewards that users have written themselves. */
export const unknownLimits =
  'It is a program of its author, who alone knows what it sees. Look at pictures of prompts that were not trained on.';
